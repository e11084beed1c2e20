"""Libraries that stages share. A stage imports from here, never from another stage."""
