SELECT g.generation, g.version, g.fingerprint FROM sagabus.view_generation g WHERE g.view = $1::text AND g.live
