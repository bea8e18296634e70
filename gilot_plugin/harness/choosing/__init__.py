"""Which samples are explained."""
