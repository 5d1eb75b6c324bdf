"""
Sequences of images: motion from frame to frame, followed over the whole sequence.

Frames are registered pair by pair (`track`), what is known of the first one is carried
along (`propagate`), measures are taken in a region (`region`, `measure`), and a
simulated echo sequence tells how far from the truth it all is (`heart`, `speckle`,
`simulated`).
"""
