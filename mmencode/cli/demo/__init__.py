"""`mmencode demo`: the main job on real photographs, in one command and without the network."""
