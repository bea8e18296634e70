"""Two outcome distributions and what separates them: ground costs, support, flows."""
