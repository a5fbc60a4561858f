"""The models: a configuration and one `tf_keras.Model` each."""
