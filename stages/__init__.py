"""Sevenfold's stages: one package a stage, `stages.lib` for what several of them share."""
