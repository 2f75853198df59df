"""The toy dataset of drawn street scenes, which is generated on first use."""
