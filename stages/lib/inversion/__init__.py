"""Images made for a network from the network alone: losses of generators, statistics of batch norms, pools of images."""
