"""Sharing results: Snakemake judges what is stale, DVC stores and moves the bytes, git names the revisions.

What links them is `provenance/`, one JSON file a stage folder: for each shared output Snakemake's record of the job that
made it, and its digests. `pull` writes the records back, so that a clone is just as up to date as where it was shared.
"""
