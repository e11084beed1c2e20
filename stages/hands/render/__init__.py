# SPDX-License-Identifier: GPL-3.0-or-later
"""The one package that imports bpy: it turns clip scenes, which are plain data, into rendered layers.

Blender's module is GPL-3, and so is this package (GPL-3.0-or-later, see LICENSE beside this file). It runs in a process
and an environment of its own (`envs/py render -m stages.hands.render.render_clips`) and hands over files: the rest of the
project does not import it.
"""
