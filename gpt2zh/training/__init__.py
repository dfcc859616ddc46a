"""What a run is made of besides its model: recipe, optimiser, meter, log, checkpoints, processes.

In: typed flags. Out: objects that train.py puts together, each the one owner of its state.
Refuses: a --resume that would be another run, memory for not even one window.
"""
