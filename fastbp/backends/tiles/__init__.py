"""The register tile: the machine under the `tiled` backend, and the only place with explicit vectors.

`host` says how wide this processor's vectors are and how many rows of a tile its registers hold; `product` is the tile
that computes all three products of backpropagation; `transpose` turns samples into panels and back; `ceiling` measures
what the processor could do at most.

A *panel* holds one vector of samples (`lanes` of them), unit after unit: element (i, s) of a layer lies at
``i * lanes + s``. So one vector load takes one unit of all its samples, and every function of single units vectorises.
"""
