"""Environments on this machine: real processes, a local edge, faults between the tiers, releases as copied trees."""
