"""After scoring: the chosen samples are explained, by all processes, within the budget."""
