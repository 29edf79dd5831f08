"""Boxes directly on CURVE, without serial lines: the two cheaper depths of a simulated Box.

(a) samples --pty--> gateway --------------------------------+     opq_sim.box, a gateway process
(b) samples --> gateway's measuring code --> gateway's uplink +--> CURVE --> cloud      sampled_boxes
(c) outlet's voltage --> closed-form Measurements -----------+                           worker
                    \\--> samples, only around a disturbance and for requested waveforms
"""
