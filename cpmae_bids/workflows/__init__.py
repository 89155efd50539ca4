"""The graph: functions that build nipype workflows, and what runs them. No arithmetic here."""
