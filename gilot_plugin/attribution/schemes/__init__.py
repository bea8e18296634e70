"""How a unit's score comes from coalitions; any scheme goes with any measure, and knows no model."""
