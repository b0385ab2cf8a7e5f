"""Django's migrations: read without running them, listed and run one at a time by Django under our lock."""
