"""What runs beside the user's code, by path and in the user's interpreter: standard library only, nothing of dodai."""
