"""What is read out of records, for comparisons, reports and loggers alike."""
