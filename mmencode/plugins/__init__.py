"""The installed plugins, asked one by one, so that a broken one hurts nobody else.

installed   the entry points of every distribution, whatever state its files are in
barring     which distributions are never asked, by MMENCODE_PLUGINS
undoing     what a plugin's code may not change in the process
discovery   ask each, and keep what came of it
owners      whose a name is that two distributions declare
health      what can be said of a declaration without importing its target
isolated    ask each in a process of its own, with a time limit
"""

from .barring import VARIABLE as VARIABLE
from .discovery import Plugin as Plugin
from .discovery import discover as discover
from .owners import SetAside as SetAside
from .owners import owned_by as owned_by
from .owners import settle as settle
