"""What runs in the contestants' processes.

`worker.py` is run by path, in an interpreter that need not have fastbp, and loads one of the other files. Each of those
stands alone (`pytorch_graphs.py` and `pytorch_bfloat16.py` with two beside them) and has

    VARIANTS                        the documented ways to do it, of which the fastest is measured
    Trainer(problem, variant)       with reset(), train(epochs), which returns when it is done, result(), and `variant`
                                    in the words of the report; it may have `least_epochs`, without which `train`
                                    would do something else, and a `clock` of its own
    versions(options)               of what it uses, as a mapping of names; raises ImportError for what is missing, and
                                    RuntimeError for a GPU that is

and imports its library in functions, because the name of a missing one is an answer. `problem` is `worker.Training`,
and the result θ; in files named …_products it is `worker.Product`, `train` computes the product `epochs` times, and the
result is its matrix; `fastbp_steps.py` takes both.
"""
