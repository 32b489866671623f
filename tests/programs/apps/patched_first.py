"""Has gevent patch the standard library.

gunicorn reads it as its configuration, before it loads the application.
"""

from gevent import monkey

monkey.patch_all()
