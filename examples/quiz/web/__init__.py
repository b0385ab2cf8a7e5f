"""The quiz's web tier: pages, forms and cookies; everything it knows it asks the backend for."""
