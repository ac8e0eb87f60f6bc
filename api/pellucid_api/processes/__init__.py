"""Several equal serving processes on one address, for more than one core.

    parent ──starts, restarts, ends──▶ process 0, process 1, ...     each is the whole service
                                           └──asks, tells──┘         over Unix sockets

Each process accepts its own share of the connections (`SO_REUSEPORT`), and has its own event loop,
models, queues and spools of the prediction log. What people ask about the service, any of them
answers for all: it asks its siblings and adds up. With one process there is no parent, and nobody
is asked.
"""
