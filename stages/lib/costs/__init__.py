"""Closed-form models of accelerators on layer tables: systolic arrays, sparse tensor cores, memory, DVFS."""
