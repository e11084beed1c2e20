"""The paper's own way to video: a flat mask of a hand that moves, put before backgrounds by pasting or by a GAN."""
