"""Before a dataset is shared: find faces, attack outputs, list what is left, write a raw dataset.

None of this takes part in refacing. Only `cpmae_bids.cli` comes in, by these doors:

* `faces.search`: does any file of a folder show a face? `faces.recogniser` knows whether the extra is there.
* `privacy.attacks`: do outputs match their originals?
* `inventory`: what of a dataset was not de-identified?
* `rawlike.build`: write a raw dataset of what may be shared. `rawlike.dates` finds labels that are dates.
"""
