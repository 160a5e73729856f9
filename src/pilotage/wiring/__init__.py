"""What joins engines that do not know each other. `app.py` makes these parts; nobody else does."""
