"""What every stage needs: artifacts, errors, seeds, progress. Standard library and numpy only."""
