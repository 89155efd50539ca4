"""Every check of the verdict notices what it is for, on the output of a real head."""

import pytest

from benchmarks import verdict_sabotage
from cpmae_bids.deid.qc.thresholds import thresholds_of
from cpmae_bids.steps.chain import deidentify

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]


@pytest.fixture(scope='module')
def results(tmp_path_factory, test_heads):
    folder = tmp_path_factory.mktemp('sabotage')
    t1w = min(test_heads.glob('sub-*/anat/*_T1w.nii.gz'), key=lambda path: path.stat().st_size)
    deidentify(t1w, folder / 'out.nii.gz', seed=1, preset='128', work_dir=folder / 'work')
    return dict(verdict_sabotage.run(verdict_sabotage.Output.read(t1w, folder / 'work')))


def test_the_honest_output_passes(results):
    assert results['honest']['fired'] == []


@pytest.mark.parametrize('name', verdict_sabotage.SABOTAGES)
def test_a_sabotage_is_noticed_by_the_checks_that_are_for_it(results, name):
    assert set(results[name]['wanted']) <= set(results[name]['fired'])


def test_every_check_of_the_image_is_shown_to_fire(results):
    """But those of masks, alignment and header, which a phantom shows as well (`test_verdict`)."""
    shown = {measure for found in results.values() for measure in found['fired']}
    elsewhere = {
        *('header_fields_leaked', 'deface_mask_errors', 'brain_ml', 'kept_per_brain', 'template_overlap'),
        *('template_correlation', 'rotation_deg', 'stretch_min', 'stretch_max'),
    }
    assert {row.metric for row in thresholds_of('')} - elsewhere <= shown
