"""Quality control: is this a scan of a whole head, and does its output show another one?

Input: `scan_checks` (the file), `head_checks` (brain, head and alignment). Output: `metrics`, which calls
`file_metrics` and `head_metrics`; `thresholds`, the table that says what each must be; `decision`.
"""
