"""Rehearsal: the runbook carried out on a stage, and drills with one fault each."""
