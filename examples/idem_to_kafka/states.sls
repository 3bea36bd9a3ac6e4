greeting:
  exec.run:
    - path: test.echo
    - kwargs:
        value: hello
