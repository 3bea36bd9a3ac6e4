# What idem does in tests/interop: states alone and in a chain, with events of their own, one that fails, and what depends on it.
echo:
  exec.run:
    - path: test.echo
    - kwargs:
        value: "grüß Gott"

beside:
  exec.run:
    - path: test.aping

own_event:
  exec.run:
    - path: test.event
    - kwargs:
        body: {"hello": "world", "list": [1, 2.5, null, true]}
        ingress_profile: idem-custom
        tags: {"of": "the test"}
    - require:
      - exec: echo

nested:
  exec.run:
    - path: test.echo
    - kwargs:
        value: [1, {"deep": [null, 0.5]}]
    - require:
      - exec: own_event

others_event:
  exec.run:
    - path: test.event
    - kwargs:
        body: "nobody wants this one"
        ingress_profile: other
    - require:
      - exec: own_event

fails:
  exec.run:
    - path: test.fail
    - require:
      - exec: beside

left_out:
  exec.run:
    - path: test.ping
    - require:
      - exec: fails
