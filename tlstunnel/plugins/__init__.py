"""
Where other packages put their dialects: modules in C{tlstunnel/plugins/} directories without an
C{__init__.py}, anywhere on the module search path.
"""

from twisted.plugin import pluginPackagePaths

__path__.extend(pluginPackagePaths(__name__))
__all__: list[str] = []
