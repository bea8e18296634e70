"""The ways to choose samples that come with the package."""
