from tests.status.stage import StatusTests
from twisted.internet.threads import deferToThread
class T(StatusTests):
    async def test_a(self):
        b=self.listen(); s=self.before(b)
        n=await deferToThread(self.connect,s)
        p,_=await deferToThread(b.accept)
        for path in ("/","/status.json","/metrics","/health","/nix","/status.js"):
            code,h,body=await self.ask(path)
            print(path,code,dict(h),len(body)); 
            if path!="/": print(body[:3000])
            else: open("/tmp/team/page.html","w").write(body)
        print(await self.ask("/",headers={"Host":"evil.example"}))
        print(await self.ask("/","POST"))
        p.close(); n.close()
