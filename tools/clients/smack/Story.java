import java.io.FileInputStream;
import java.io.InputStream;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Date;
import java.util.List;
import java.util.Set;
import java.util.function.Predicate;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManager;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509TrustManager;
import org.jivesoftware.smack.ConnectionConfiguration.SecurityMode;
import org.jivesoftware.smack.ConnectionListener;
import org.jivesoftware.smack.SmackConfiguration;
import org.jivesoftware.smack.filter.StanzaTypeFilter;
import org.jivesoftware.smack.packet.Message;
import org.jivesoftware.smack.packet.Presence;
import org.jivesoftware.smack.packet.Session;
import org.jivesoftware.smack.packet.Stanza;
import org.jivesoftware.smack.roster.Roster;
import org.jivesoftware.smack.roster.RosterEntry;
import org.jivesoftware.smack.roster.RosterGroup;
import org.jivesoftware.smack.roster.RosterListener;
import org.jivesoftware.smack.sasl.SASLErrorException;
import org.jivesoftware.smack.tcp.XMPPTCPConnection;
import org.jivesoftware.smack.tcp.XMPPTCPConnectionConfiguration;
import org.jivesoftware.smack.util.StringUtils;
import org.jivesoftware.smackx.blocking.BlockingCommandManager;
import org.jivesoftware.smackx.delay.packet.DelayInformation;
import org.jivesoftware.smackx.disco.ServiceDiscoveryManager;
import org.jivesoftware.smackx.disco.packet.DiscoverInfo;
import org.jivesoftware.smackx.iqprivate.PrivateDataManager;
import org.jivesoftware.smackx.iqprivate.packet.DefaultPrivateData;
import org.jivesoftware.smackx.ping.PingManager;
import org.jivesoftware.smackx.vcardtemp.VCardManager;
import org.jivesoftware.smackx.vcardtemp.packet.VCard;
import org.jxmpp.jid.BareJid;
import org.jxmpp.jid.Jid;
import org.jxmpp.jid.impl.JidCreate;
import org.jxmpp.jid.parts.Resourcepart;

/**
 * Two people chat, each with Smack: the story every ordinary client must be able to tell.
 *
 * <pre>Story HOST PORT starttls|direct TRUSTED.pem EXPIRED_PORT ADA@DOMAIN PASSWORD GRACE@DOMAIN PASSWORD</pre>
 *
 * The steps and the rules are those of story.py. Smack's own way is kept where it differs: login asks for the
 * roster and sends presence in one go, and the session of RFC 3921 is asked for explicitly, as older versions do.
 */
public final class Story {
    private static final long DEADLINE_MS = 40_000;
    private static final long SILENCE_MS = 500;
    private static final String NOTE = "urn:hearth:story";

    private static String host;
    private static int port;
    private static int expiredPort;
    private static boolean direct;
    private static Trust trust;
    private static SSLContext tls;

    /** A client that notes every message and presence it gets, so that steps can wait for what they expect. */
    private static final class Person {
        final XMPPTCPConnection connection;
        final Roster roster;
        final String account;
        final List<Object> noted = new ArrayList<>();

        Person(String[] account, String resource, int port) throws Exception {
            this.account = account[0];
            XMPPTCPConnectionConfiguration.Builder builder = XMPPTCPConnectionConfiguration.builder()
                    .setXmppDomain(JidCreate.domainBareFrom(account[0].split("@")[1]))
                    .setUsernameAndPassword(account[0].split("@")[0], account[1])
                    .setHost(host)
                    .setPort(port);
            if (resource != null) {
                builder.setResource(Resourcepart.from(resource));
            }
            if (direct) {
                builder.setSocketFactory(tls.getSocketFactory()).setSecurityMode(SecurityMode.disabled);
            } else {
                builder.setCustomX509TrustManager(trust).setSecurityMode(SecurityMode.required);
            }
            connection = new XMPPTCPConnection(builder.build());
            connection.setUseStreamManagement(true);
            connection.addAsyncStanzaListener(this::note, StanzaTypeFilter.MESSAGE);
            connection.addAsyncStanzaListener(this::note, StanzaTypeFilter.PRESENCE);
            connection.addConnectionListener(new ConnectionListener() {
                @Override
                public void connectionClosedOnError(Exception error) {
                    note(error);
                }
            });
            roster = Roster.getInstanceFor(connection);
            roster.setSubscriptionMode(Roster.SubscriptionMode.manual);
            // Pushes are noted as the entries they made.
            roster.addRosterListener(new RosterListener() {
                @Override
                public void entriesAdded(Collection<Jid> jids) {
                    jids.forEach(jid -> note(roster.getEntry(jid.asBareJid())));
                }

                @Override
                public void entriesUpdated(Collection<Jid> jids) {
                    entriesAdded(jids);
                }

                @Override
                public void entriesDeleted(Collection<Jid> jids) {}

                @Override
                public void presenceChanged(Presence presence) {}
            });
        }

        void note(Object what) {
            synchronized (noted) {
                noted.add(what);
                noted.notifyAll();
            }
        }

        /** The first thing noted of this kind that is wanted; it is taken off the notes. */
        <T> T until(Class<T> kind, Predicate<T> wanted) throws Exception {
            long end = System.currentTimeMillis() + DEADLINE_MS;
            synchronized (noted) {
                while (true) {
                    for (Object what : noted) {
                        if (kind.isInstance(what) && wanted.test(kind.cast(what))) {
                            noted.remove(what);
                            return kind.cast(what);
                        }
                    }
                    long left = end - System.currentTimeMillis();
                    if (left <= 0) {
                        throw new Exception("deadline");
                    }
                    noted.wait(left);
                }
            }
        }

        Presence sees(String from, Presence.Type type) throws Exception {
            return until(Presence.class, p -> p.getFrom().toString().equals(from) && p.getType() == type);
        }

        Message hears(String body) throws Exception {
            return until(Message.class, m -> body.equals(m.getBody()));
        }

        boolean heardAnything() {
            synchronized (noted) {
                return noted.stream().anyMatch(what -> what instanceof Message);
            }
        }

        void logIn() throws Exception {
            connection.connect();
            connection.login();
        }

        void logOut() {
            connection.disconnect();
        }

        String full() {
            return connection.getUser().toString();
        }

        void send(Stanza stanza) throws Exception {
            connection.sendStanza(stanza);
        }

        void presence(Presence.Type type, String to) throws Exception {
            send(connection.getStanzaFactory().buildPresenceStanza().ofType(type).to(to).build());
        }

        void say(String to, String body) throws Exception {
            send(connection.getStanzaFactory().buildMessageStanza().to(to).ofType(Message.Type.chat).setBody(body).build());
        }

        void ping() throws Exception {
            expect(PingManager.getInstanceFor(connection).pingMyServer(false), "no answer to a ping");
        }

        /** Smack takes pushes in on another thread, and so keeps the list as it was for a while. */
        void untilBlocked(Set<Jid> wanted) throws Exception {
            long end = System.currentTimeMillis() + DEADLINE_MS;
            Set<Jid> listed;
            do {
                listed = Set.copyOf(BlockingCommandManager.getInstanceFor(connection).getBlockList());
                if (listed.equals(wanted)) {
                    return;
                }
                Thread.sleep(20);
            } while (System.currentTimeMillis() < end);
            throw new Exception("the list is " + listed);
        }
    }

    private interface Step {
        /** Returns a remark, or null. */
        String run() throws Exception;
    }

    /** The server does not announce what a step needs. */
    private static final class Lacking extends Exception {
        Lacking(String feature) {
            super(feature);
        }
    }

    private final String[] adaAccount;
    private final String[] graceAccount;
    private final BareJid adaJid;
    private final BareJid graceJid;
    private final String transport;
    private Person ada;
    private Person grace;
    private int number;
    private boolean failed;

    private Story(String transport, String[] ada, String[] grace) throws Exception {
        this.transport = transport;
        adaAccount = ada;
        graceAccount = grace;
        adaJid = JidCreate.bareFrom(ada[0]);
        graceJid = JidCreate.bareFrom(grace[0]);
    }

    private static void expect(boolean condition, String what) throws Exception {
        if (!condition) {
            throw new Exception(what);
        }
    }

    private void step(String words, Step step) {
        number++;
        String title = number + " - Smack " + transport + ": " + words;
        if (failed) {
            System.out.println("not ok " + title + " (not reached)");
            return;
        }
        try {
            String remark = step.run();
            System.out.println("ok " + title + (remark == null ? "" : " # " + remark));
        } catch (Lacking what) {
            System.out.println("# Smack " + transport + ": left out, the server does not announce " + what.getMessage());
        } catch (Exception error) {
            failed = true;
            System.out.println("not ok " + title + "\n  # " + error.toString().replace("\n", "\n  # "));
            for (Person person : new Person[] {ada, grace}) {
                if (person != null) {
                    person.noted.forEach(what -> System.out.println("  # " + person.account + " noted " + what));
                }
            }
        }
    }

    private String refused(String account, String password) throws Exception {
        Person stranger = new Person(new String[] {account, password}, null, port);
        try {
            stranger.logIn();
        } catch (SASLErrorException error) {
            String condition = error.getSASLFailure().getSASLError().toString().replace('_', '-');
            expect(condition.equals("not-authorized"), "refused with " + condition);
            return "it says: " + error.getMessage();
        } finally {
            stranger.logOut();
        }
        throw new Exception("a session began");
    }

    private String expired() throws Exception {
        Person stranger = new Person(adaAccount, null, expiredPort);
        try {
            stranger.logIn();
        } catch (Exception error) {
            // With TLS from the start its writer may stumble over the closed socket before its reader tells why.
            if (trust.refusal == null) {
                throw error;
            }
            return "it says: " + trust.refusal.getMessage();
        } finally {
            stranger.connection.instantShutdown();
        }
        throw new Exception("a session began");
    }

    private String bothLogIn() throws Exception {
        ada = new Person(adaAccount, null, port);
        grace = new Person(graceAccount, null, port);
        for (Person person : new Person[] {ada, grace}) {
            person.logIn();
            expect(person.roster.getEntries().isEmpty(), "the roster is not empty");
            person.sees(person.full(), Presence.Type.available);
        }
        String mechanism = ada.connection.getUsedSaslMechansism();
        expect(mechanism.startsWith("SCRAM-"), "logged in by " + mechanism);
        return "by " + mechanism;
    }

    /** RFC 3921 §3: answered whenever it is asked for. */
    private String session() throws Exception {
        ada.connection.sendIqRequestAndWaitForResponse(new Session());
        return null;
    }

    private String disco() throws Exception {
        DiscoverInfo info = ServiceDiscoveryManager.getInstanceFor(ada.connection)
                .discoverInfo(ada.connection.getXMPPServiceDomain());
        expect(info.hasIdentity("server", "im"), "identities " + info.getIdentities());
        expect(info.containsFeature("urn:xmpp:ping") && info.containsFeature("vcard-temp"), info.getFeatures().toString());
        return null;
    }

    private String keep(String name, String... groups) throws Exception {
        ada.roster.createItem(graceJid, name, groups);
        RosterEntry entry = ada.until(RosterEntry.class, e -> name.equals(e.getName()) && e.getGroups().size() == groups.length);
        List<String> held = new ArrayList<>();
        for (RosterGroup group : entry.getGroups()) {
            held.add(group.getName());
        }
        expect(Set.of(groups).equals(Set.copyOf(held)), "groups are " + held);
        ada.roster.reloadAndWait();
        expect(ada.roster.getEntries().size() == 1, "the roster is " + ada.roster.getEntries());
        return null;
    }

    private String subscribe() throws Exception {
        ada.presence(Presence.Type.subscribe, graceAccount[0]);
        grace.sees(adaAccount[0], Presence.Type.subscribe);
        grace.presence(Presence.Type.subscribed, adaAccount[0]);
        ada.sees(graceAccount[0], Presence.Type.subscribed);
        ada.sees(grace.full(), Presence.Type.available);
        return null;
    }

    private String subscribeBack() throws Exception {
        grace.presence(Presence.Type.subscribe, adaAccount[0]);
        ada.sees(graceAccount[0], Presence.Type.subscribe);
        ada.presence(Presence.Type.subscribed, graceAccount[0]);
        grace.sees(ada.full(), Presence.Type.available);
        return null;
    }

    private String both() throws Exception {
        for (Person person : new Person[] {ada, grace}) {
            person.roster.reloadAndWait();
            for (RosterEntry entry : person.roster.getEntries()) {
                expect(entry.getType().toString().equals("both"), person.account + " has " + entry);
            }
        }
        return null;
    }

    private String away() throws Exception {
        grace.send(grace.connection.getStanzaFactory().buildPresenceStanza().setMode(Presence.Mode.away)
                .setStatus("lunch & <tea>").setPriority(3).build());
        Presence seen = ada.until(Presence.class, p -> p.getFrom().toString().equals(grace.full()) && p.getMode() == Presence.Mode.away);
        expect("lunch & <tea>".equals(seen.getStatus()) && seen.getPriority() == 3, "saw " + seen);
        return null;
    }

    private String chat() throws Exception {
        String text = "Guten Abend, Grace \uD83D\uDC4B & <b>hello</b>";
        ada.say(graceAccount[0], text);
        Message got = grace.hears(text);
        expect(got.getFrom().toString().equals(ada.full()) && DelayInformation.from(got) == null, "got " + got);
        grace.say(ada.full(), "Good evening, Ada");
        expect(ada.hears("Good evening, Ada").getFrom().toString().equals(grace.full()), "from somebody else");
        return null;
    }

    private String vcard() throws Exception {
        VCard own = new VCard();
        own.setFirstName("Ada <Lovelace> & Daughters");
        own.setNickName("ada & <co>");
        VCardManager.getInstanceFor(ada.connection).saveVCard(own);
        VCard read = VCardManager.getInstanceFor(grace.connection).loadVCard(adaJid.asEntityBareJidIfPossible());
        expect("Ada <Lovelace> & Daughters".equals(read.getFirstName()), "read " + read.getFirstName());
        expect("ada & <co>".equals(read.getNickName()), "read " + read.getNickName());
        return null;
    }

    private void announced(String feature) throws Exception {
        if (!ServiceDiscoveryManager.getInstanceFor(ada.connection).serverSupportsFeature(feature)) {
            throw new Lacking(feature);
        }
    }

    private String store() throws Exception {
        announced("jabber:iq:private");
        PrivateDataManager storage = PrivateDataManager.getInstanceFor(ada.connection);
        DefaultPrivateData note = new DefaultPrivateData("note", NOTE);
        // It writes values as they are.
        note.setValue("text", StringUtils.escapeForXml("meet <Grace> & Charles").toString());
        storage.setPrivateData(note);
        String text = ((DefaultPrivateData) storage.getPrivateData("note", NOTE)).getValue("text");
        expect("meet <Grace> & Charles".equals(text), "stored " + text);
        return null;
    }

    private String phone() throws Exception {
        Person phone = new Person(adaAccount, "phone", port);
        phone.logIn();
        phone.send(phone.connection.getStanzaFactory().buildPresenceStanza().setPriority(5).build());
        for (Person person : new Person[] {ada, grace}) {
            person.until(Presence.class, p -> p.getFrom().toString().equals(phone.full()) && p.getPriority() == 5);
        }
        phone.sees(ada.full(), Presence.Type.available);
        phone.sees(grace.full(), Presence.Type.available);
        grace.say(adaAccount[0], "for both");
        grace.say(phone.full(), "for the phone");
        phone.hears("for both");
        phone.hears("for the phone");
        ada.hears("for both");
        ada.ping();
        Thread.sleep(SILENCE_MS);
        expect(!ada.heardAnything(), "the desk got what was for the phone");
        phone.logOut();
        for (Person person : new Person[] {ada, grace}) {
            person.sees(phone.full(), Presence.Type.unavailable);
        }
        return null;
    }

    private String conflict() throws Exception {
        Person first = new Person(adaAccount, "twin", port);
        Person second = new Person(adaAccount, "twin", port);
        first.logIn();
        second.logIn();
        expect(first.full().equals(second.full()), first.full() + " and " + second.full());
        Exception closed = first.until(Exception.class, e -> true);
        expect(closed.getMessage().contains("conflict"), "closed with " + closed);
        second.ping();
        second.logOut();
        return null;
    }

    private String block() throws Exception {
        BlockingCommandManager blocking = BlockingCommandManager.getInstanceFor(ada.connection);
        announced("urn:xmpp:blocking");
        blocking.blockContacts(List.of(graceJid));
        grace.sees(ada.full(), Presence.Type.unavailable);
        ada.untilBlocked(Set.of(graceJid));
        grace.say(adaAccount[0], "are you cross?");
        Message back = grace.until(Message.class, m -> m.getType() == Message.Type.error);
        expect(back.getError().getCondition().toString().equals("service-unavailable"), "got " + back);
        blocking.unblockContacts(List.of(graceJid));
        grace.sees(ada.full(), Presence.Type.available);
        ada.sees(grace.full(), Presence.Type.available);
        ada.untilBlocked(Set.of());
        expect(!ada.heardAnything(), "a blocked message came");
        return null;
    }

    private String leaves() throws Exception {
        String leaving = grace.full();
        grace.logOut();
        ada.sees(leaving, Presence.Type.unavailable);
        return null;
    }

    private String waits() throws Exception {
        long before = System.currentTimeMillis();
        ada.say(graceAccount[0], "Are you there?");
        // Messages are stored in order: when one to herself arrives, that before it waits for Grace.
        ada.say(adaAccount[0], "note to self");
        ada.hears("note to self");
        grace = new Person(graceAccount, null, port);
        grace.logIn();
        DelayInformation delay = DelayInformation.from(grace.hears("Are you there?"));
        expect(delay != null, "no delay stamp");
        Date stamp = delay.getStamp();
        expect(Math.abs(stamp.getTime() - before) < 60_000, "stamped " + stamp);
        return null;
    }

    private String once() throws Exception {
        grace.logOut();
        grace = new Person(graceAccount, null, port);
        grace.logIn();
        grace.sees(ada.full(), Presence.Type.available);
        Thread.sleep(SILENCE_MS);
        expect(!grace.heardAnything(), "it came twice");
        return null;
    }

    private boolean tell() {
        step("wrong password is refused", () -> refused(adaAccount[0], adaAccount[1] + "x"));
        step("unknown account is refused", () -> refused("nobody-" + adaAccount[0], "secret"));
        step("expired certificate is refused", this::expired);
        step("both log in and are alone", this::bothLogIn);
        step("a session of RFC 3921 is granted", this::session);
        step("server answers ping", () -> {
            ada.ping();
            return null;
        });
        step("server says what it can do", this::disco);
        step("ada adds grace to her roster", () -> keep("Grace", "Friends"));
        step("ada puts grace into two groups", () -> keep("Grace & Co", "Friends", "Work <9 to 5>"));
        step("ada asks to see grace, and does", this::subscribe);
        step("grace asks back", this::subscribeBack);
        step("both rosters say both", this::both);
        step("a change of presence is seen", this::away);
        step("they chat both ways", this::chat);
        step("grace reads the vcard of ada", this::vcard);
        step("ada stores a note for herself", this::store);
        step("ada has a phone too", this::phone);
        step("one resource twice is a conflict", this::conflict);
        step("ada blocks grace", this::block);
        step("grace logs out and ada sees it", this::leaves);
        step("a message waits for grace", this::waits);
        step("it waits only once", this::once);
        step("both log out", () -> {
            grace.logOut();
            ada.logOut();
            return null;
        });
        System.out.println("1.." + number);
        return !failed;
    }

    /** Trusts the certificates of a PEM file and nothing else, and notes what it refused. */
    private static final class Trust implements X509TrustManager {
        private final X509TrustManager pkix;
        volatile CertificateException refusal;

        Trust(String pem) throws Exception {
            KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
            store.load(null, null);
            try (InputStream in = new FileInputStream(pem)) {
                for (Certificate certificate : CertificateFactory.getInstance("X.509").generateCertificates(in)) {
                    store.setCertificateEntry("trusted" + store.size(), certificate);
                }
            }
            TrustManagerFactory factory = TrustManagerFactory.getInstance("PKIX");
            factory.init(store);
            pkix = (X509TrustManager) factory.getTrustManagers()[0];
        }

        @Override
        public void checkServerTrusted(X509Certificate[] chain, String type) throws CertificateException {
            try {
                pkix.checkServerTrusted(chain, type);
            } catch (CertificateException error) {
                refusal = error;
                throw error;
            }
        }

        @Override
        public void checkClientTrusted(X509Certificate[] chain, String type) throws CertificateException {
            pkix.checkClientTrusted(chain, type);
        }

        @Override
        public X509Certificate[] getAcceptedIssuers() {
            return pkix.getAcceptedIssuers();
        }
    }

    public static void main(String[] args) throws Exception {
        if (args.length != 9 || !(args[2].equals("starttls") || args[2].equals("direct"))) {
            System.err.println("usage: Story HOST PORT starttls|direct TRUSTED.pem EXPIRED_PORT "
                    + "ADA@DOMAIN PASSWORD GRACE@DOMAIN PASSWORD");
            System.exit(2);
        }
        java.util.logging.LogManager.getLogManager().reset();
        SmackConfiguration.setDefaultReplyTimeout((int) DEADLINE_MS);
        host = args[0];
        port = Integer.parseInt(args[1]);
        direct = args[2].equals("direct");
        trust = new Trust(args[3]);
        tls = SSLContext.getInstance("TLS");
        tls.init(null, new TrustManager[] {trust}, null);
        expiredPort = Integer.parseInt(args[4]);
        boolean ok = new Story(args[2], new String[] {args[5], args[6]}, new String[] {args[7], args[8]}).tell();
        System.exit(ok ? 0 : 1);
    }
}
