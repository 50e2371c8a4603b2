"""Parts of the TensorFlow Lite importer: the file, its operators' options, their mapping."""
