"""What every training shares: settings and a network in, a checkpoint with its log and curves out.

Read ``run`` first; ``session`` says where a training runs, ``step_loss`` is what a method adds,
``held_out`` measures it on other patches, ``files`` writes what lies beside the checkpoint, ``cost``
says beforehand what a training takes.
"""
