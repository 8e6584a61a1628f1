"""How long a training step takes, for fastbp's backends and for other libraries, as ratios inside one run.

Every contestant trains the same network on the same samples in a process of its own (`contestants.py` says which and in
what environment, `workers/` how each trains). `measuring.py` checks each against the formulas in float64 and then times
them in turn, `report.py` makes tables of what was measured, and `page.py` a page for a browser.
"""
