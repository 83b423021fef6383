"""What training_code.py stands on, and what training something else leaves as it is."""
