package quorum
import ("testing";"testing/synctest")
func TestDbg(t *testing.T){ synctest.Test(t, func(*testing.T){ simDebug=true; w:=simulate(*simFirst, broken{}); t.Log(w.found,w.first, w.served); if w.found["double grant"]+w.found["token"]>0 {t.Fatal("x")} }) }
