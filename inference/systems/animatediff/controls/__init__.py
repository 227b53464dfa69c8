"""What holds a clip to a film: ControlNets, and the detectors that draw what they are shown from every frame of it."""
