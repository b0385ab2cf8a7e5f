"""Vendors and engines behind the areas' ports; none of them knows another."""
