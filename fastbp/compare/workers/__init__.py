"""What runs in the contestants' processes.

`worker.py` is run by path, in an interpreter that need not have fastbp, and loads one of the other files. Each of those
stands alone and has

    VARIANTS                        the documented ways to train, of which the fastest is measured
    Trainer(problem, variant)       with reset(), train(epochs), which returns when it is done, theta(), and `variant`
                                    in the words of the report; `problem` is `worker.Problem`
    versions()                      of what it uses, as a mapping of names

and imports its library in functions, because the name of a missing one is an answer.
"""
