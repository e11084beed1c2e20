"""The workflow: rules, their settings and fingerprints. Nothing here computes a result."""
