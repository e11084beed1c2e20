"""What the Snakefile and the front door share: settings, fingerprints, storage classes, preflight, plan."""
