"""What people see of an attributed run; everything here reads artifacts, never a model."""
