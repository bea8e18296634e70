"""Whether attributions are true of the model: units are removed in their order, against controls."""
