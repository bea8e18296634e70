"""What goes into the model and of which parts it was made, seen while lm-eval runs."""
