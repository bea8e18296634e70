"""Other attribution methods, from libraries where they exist, behind the same interface."""
