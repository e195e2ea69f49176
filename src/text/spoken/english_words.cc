// SPDX-License-Identifier: Apache-2.0
// Words and signs that English text abbreviates, with what is said for them.
#include "text/spoken/english_words.h"

#include "text/jinja/python_text.h"

namespace quern::spoken {
namespace {

// Entries stand between bars, as "written=one" or "written=one/many" where the plural is not made
// by adding s.
constexpr std::string_view kUnits =
    "amu=atomic mass unit|bar=bar|°=degree|º=degree|°c=degree Celsius/degrees Celsius|"
    "°C=degree Celsius/degrees Celsius|ºc=degree Celsius/degrees Celsius|"
    "ºC=degree Celsius/degrees Celsius|℃=degree Celsius/degrees Celsius|"
    "cm2=square centimeter|cm²=square centimeter|cm3=cubic centimeter|cm³=cubic centimeter|"
    "cm=centimeter|cwt=hundredweight/hundredweight|db=decibel|dm3=cubic decimeter|"
    "dm³=cubic decimeter|dm=decimeter|ds=decisecond|°f=degree Fahrenheit/degrees Fahrenheit|"
    "°F=degree Fahrenheit/degrees Fahrenheit|℉=degree Fahrenheit/degrees Fahrenheit|"
    "ft=foot/feet|ghz=gigahertz/gigahertz|gw=gigawatt|gwh=gigawatt hour|hz=hertz/hertz|"
    "kbps=kilobit per second/kilobits per second|kcal=kilo calory/kilo calories|"
    "kgf=kilogram force/kilograms force|kg=kilogram|khz=kilohertz/kilohertz|"
    "km2=square kilometer|km²=square kilometer|km3=cubic kilometer|km³=cubic kilometer|"
    "km=kilometer|kpa=kilopascal|kwh=kilowatt hour|kw=kilowatt|kW=kilowatt|lb=pound|"
    "lbs=pound|m2=square meter|m²=square meter|m3=cubic meter|m³=cubic meter|"
    "mbps=megabit per second/megabits per second|mg=milligram|mhz=megahertz/megahertz|"
    "mi2=square mile|mi²=square mile|mi3=cubic mile|mi³=cubic mile|cu mi=cubic mile|mi=mile|"
    "min=minute|ml=milliliter|mm2=square millimeter|mm²=square millimeter|mol=mole|"
    "mpa=megapascal|mph=mile per hour/miles per hour|ng=nanogram|nm=nanometer|ns=nanosecond|"
    "oz=ounce|pa=pascal|%=percent/percent|rad=radian|"
    "rpm=revolution per minute/revolutions per minute|sq ft=square foot/square feet|"
    "sq mi=square mile|sv=sievert|tb=terabyte|tj=terajoule|tl=teraliter|v=volt|yd=yard|"
    "μg=microgram|μm=micrometer|μs=microsecond|ω=ohm|atm=atmosphere|au=AU/AU|bq=becquerel|"
    "cc=CC/CC|cd=candela|da=dalton|eb=exabyte|ev=EV/EV|f=F/F|gb=gigabyte|g=G/G|gl=gigaliter|"
    "gpa=GPA/GPA|gy=GY/GY|ha=hectare|h=H/H|hl=hectoliter|hp=horsepower/horsepower|hs=HS/HS|"
    "kb=kilobyte|kl=KL/KL|kn=KN/KN|kt=KT/KT|kv=KV/KV|lm=LM/LM|ma=milliampere|mA=milliampere|"
    "mb=megabyte|mc=megacoulomb|mf=megafarad|m=M/M|mm=millimeter|ms=millisecond|mv=millivolt|"
    "mw=megawatt|pb=petabyte|pg=petagram|ps=petasecond|s=S/S|zb=zettabyte|mV=millivolt|"
    "mW=megawatt|yb=yottabyte";

constexpr std::string_view kCurrencies =
    "$=dollar|US$=us dollar|฿=Thai Baht|£=pound|€=euro|₩=won/won|nzd=new zealand dollar|"
    "rs=rupee|chf=swiss franc|dkk=danish kroner|fim=finnish markka|aed=arab emirates dirham|"
    "¥=yen/yen|czk=czech koruna|mro=mauritanian ouguiya|pkr=pakistani rupee|"
    "crc=costa rican colon|hk$=hong kong dollar|npr=nepalese rupee|awg=aruban florin|"
    "nok=norwegian kroner|tzs=tanzanian shilling|sek=swedish kronor|cyp=cypriot pound|r=real|"
    "sar=saudi riyal|cve=cape verde escudo|rsd=serbian dinar|dm=german mark|"
    "shp=saint helena pounds/saint helena poundses|php=philippine peso|cad=canadian dollar|"
    "ssp=south sudanese pound|scr=seychelles rupee|mvr=maldivian rufiyaa|DH=dirham|Dh=dirham|"
    "Dhs.=dirham";

constexpr std::string_view kAbbreviations =
    "Hon.=Honorable|Mr.=Mister|Mrs.=Misses|Ms.=Miss|Mr=Mister|Mrs=Misses|Ms=Miss|Mon=Monday|"
    "Tu=Tuesday|Wed=Wednesday|Th=Thursday|Thur=Thursday|Thurs=Thursday|Fri=Friday|"
    "Sat=Saturday|Sun=Sunday|==equals|#=number|No.=number|NO.=number|VOL.=Volume|Vol.=Volume|"
    "TV=Television|&Co.=and Company|Ph.D.=PHD|Mt.=Mount|Maj.=Major|Rev.=Reverend|"
    "Gov.=governor|Bldg.=Building|Apt.=Apartment|World War II.=World War two|"
    "World War II=World War two|World War I.=World War one|World War I=World War one|"
    "SnO2=tin four oxide|SPDR=spider|κ=kappa|ω=omega|α=alpha|ν=nu|δ=delta|Δ=delta|Α=alpha|"
    "β=beta|Β=beta|χ=chi|Χ=chi|ε=epsilon|Ε=epsilon|φ=phi|Φ=phi|γ=gamma|Γ=gamma|η=eta|Η=eta|"
    "ι=iota|Ι=iota|Κ=kappa|λ=lambda|Λ=lambda|μ=mu|Μ=mu|Ν=nu|ο=omicron|Ο=omicron|π=pi|Π=pi|"
    "θ=theta|Θ=theta|ρ=rho|Ρ=rho|σ=sigma|Σ=sigma|τ=tau|Τ=tau|υ=upsilon|Υ=upsilon|Ω=omega|"
    "ξ=xi|Ξ=xi|ψ=psi|Ψ=psi|ζ=zeta|Ζ=zeta|A.D.A.M.=adam|Ahsa'i=AHSAI|Aka.=AKA|A'ma=AMA|"
    "Ams'=AM's|As'ad=ASAD|A.s=A's|A.T.s=AT's|Avs'=AV's|Ba'al=BAAL|Ba'ath=BAATH|B'Av=BAV|"
    "BBQ'er=BBQER|B&Bs=B and B's|B.C.'s=BC's|B.I.G.'s=BIG's|B.J.'s=BJ's|B. s=B's|B.'s=B's|"
    "C.A.M.'s=CAM's|Capt.=captain|C'e=CE|CEOs'=CEO's|CHP'den=CHPDEN|Co.=company|Col.=colonel|"
    "C.s=C's|D.A.N.C.E.=dance|D.C.'s=DC's|d'HEC=DHEC|DJ'ed=DJED|D'Jok=DJOK|D.J.s=DJ's|"
    "D.M.C.'s=DMC's|D.O.A.'s=DOA's|D'oh=DOH|d'OZ=DOZ|Dr.=doctor|Drs.=doctors|E.P.s=EP's|"
    "ES3=ES three|Esq.=esquire|Et'hem=ETHEM|F.A.B.'s=FAB's|F.B.G.s=FBG's|F.C.'s=FC's|"
    "Fi'd=FID|F. s=F's|Ft.=Fort|Gen.=general|IBDA'A=IBDAA|ID'd=IDD|IMDb.=IMDB|Imms'=IMM's|"
    ".I.o.=IO|Io.=IO|.IO=IO|I/Os=IO's|I.O.'s=IO's|Isra'il=ISRAIL|J.D.s=JD's|Jr.=junior|"
    "Jr=junior|J.R.'s=JR's|K.C.'s=KC's|K. D.'s=KD's|K.D.'s=KD's|K.R.I.T.'s=KRIT's|"
    "L.A.'s=LA's|L.O.C.'s=LOC's|l'OL=LOL|Ltd.=limited|Lt.=lieutenant|M.I.A.'s=MIA's|"
    "M.O.G.U.E.R.A.'s=MOGUERA's|M.P.'s=MP's|M.U.s=MU's|N.B.A.'s=NBA's|N'I=NI|N.J.'s=NJ's|"
    "N'Zif=NZIF|N'Zi=NZI|OK'd=OKD|P.C.s=PC's|P.E.I.'s=PEI's|P.O.D.'s=POD's|P.O.W.'s=POW's|"
    "P. s=P's|P.'s=P's|P'Twa=PTWA|Q&As=Q and A's|R.E.M.'s=REM's|Sa'id=SAID|Sa'yo=SAYO|"
    "S.E.S.'s=SES's|S.F.'s=SF's|Sgt.=sergeant|S.H.I.E.L.D.'s=SHIELD's|S.L.A.A.'s=SLAA's|"
    "S.M.'s=SM's|S&P 500=S and P five  hundred|S. s=S's|T.I.'s=TI's|T.M.s=TM's|T.O.'s=TO's|"
    "T'uqu=TUQU|Tza'ar=TZAAR|Uéda=UE acute DA|U.N.'s=UN's|.USA=USA|U.S.C.'s=USC's|"
    "U.S.'s=US's|V'Ger=VGER|V.I.C.'s=VIC's|V.I.P.s=VIP's|VTE=VT eL|Wa'il=WAIL|YSK'da=YSKDA|"
    "YSK'ya=YSKYA|here's=here is|you're=you are|i'm=i am|Here's=Here is|You're=You are|"
    "I'm=I am";

constexpr std::string_view kSigns =
    "&=and|@=at|§=section|™=trademark|®=registered trademark|©=copyright|_=underscore|"
    "%=percent|*=asterisk|+=plus|^=circumflex|~=tilde|$=dollar|£=pound|€=euro|₩=won|¥=yen|"
    "°=degree|º=degree";

// Written as one, read with "and".
constexpr std::string_view kJoinedByAnd =
    "A&A|A&C|ACC&S|A&CR|AC&W|A&D|AD&D|A&E|AG&G|A&I|A&K|A&L|A&M|AM&FM|AM&O|A&M's|A&O|A&P|"
    "A&P's|AP&T|A&R|A&T|A&T's|AT&SF|AT&T|AT&T's|B&A|B&B|BB&CI|BBC&PJR|BB&S|BB&T|B&H|BH&E|B&K|"
    "BLR&D|B&M|B&N|B&O|B&O's|B&Q|B&W|C&A|CA&CC|CB&CNS|CB&Q|C&C|C&D|CD&DR|CD&R|CD&V|C&EI's|"
    "C&EN|C&F|C&G|C&H|CL&N|CL&P|C&MA|C&O|C&P|C&S|C&SF|C&T|C&V|D&AD|D&C|D&D|D&G|D&H|DL&LR|"
    "DL&W|D&M|DM&E|DS&BB|D&SNGRR|DT&E|DT&I|D&W|E&BR|ECP&DA's|EG&G|E&GR|E&M|E&NA|E&P|E&Y|F&C|"
    "FD&C|F&I|FPM&SA|F&W|GB&NDR|G&C|GC&SF|GF&A|GH&SA|G&L|GNP&BR|G&P|G&S|H&A|H&BR|H&F|H&H|H&K|"
    "H&M|H&M's|H&R|HZ&PC|I&C|IL&FS|I&M|J&B|J&D's|J&J|J&K|J&P|J&R|J&T|JT&KW|J&V|K&B|K&D|K&M|"
    "K&N|K&P|KT&K|LC&DR|LG&RDD|L&L|L&N|L&P|L&PM|L&T|L&YR|M&A|MD&DI|M&G|M&GN|M&GR's|MH&L|M&H|"
    "M&I|M&J|M&L|MM&A|M&M|M&M's|M&NF|MP&I|M&P|MR&LE|M&S|M&T|NHM&W|N&W|O&G|O&K|O&MFL|O&O|OR&N|"
    "PD&D|P&D|PFW&C|PG&N|P&G|P&H|P&I|P&O|P&PH|P&W|Q&A|Q&A's|R&A|R&AW|R&B|R&C|R&D|R&G|R&I|"
    "RP&C|R&R|SD&AE|SDG&E|SDSM&T's|SG&A|S&L|SLS&E|S&M|S&P|S&S|ST&AJ|S&T|S&W|T&A|T&F|T&T|"
    "USF&WS|V&A|V&R|V&T's|V&T|W&CBR|WF&NW|W&F|W&H|W&J's|W&J|W&LE|W&M|W&OD|YF&R|Y&R|Y&T";

// Plurals of abbreviations, read with an apostrophe.
constexpr std::string_view kPlurals =
    "AAAs|AADTs|Achs|Acis|ACMs|ADCs|ADLs|ADNs|ADRs|ADSRs|ADSs|Aes|AFMs|Agis|AGNs|AGRs|Ahirs|"
    "Aias|AICs|Aigis|AIs|AKAPs|AKAs|ALUs|AMAs|AMCs|Amts|AOCCs|Aoos|AORs|Aotus|APCs|Appts|Aps|"
    "APs|ARGs|Asdis|ASSPs|Atas|ATBs|ATMs|Atos|ATOs|ATVs|AUVs|AVCs|AVRs|Avs|AWAs|BBSes|BCs|"
    "Beis|BEMs|Bes|BFFs|BHMs|BJPs|BLTs|BMPs|BMRs|BOCs|BRBs|BRTs|Bs|BTUs|BWTs|Cas|CBDs|CBGBs|"
    "CBs|CCDs|CCRCs|cDNAs|CDOs|CDPs|CDs|Ceos|CEOs|Ces|CFOs|CFTs|Chirs|CHPs|CIOs|CIs|CLBs|CLs|"
    "CLTs|CMCs|CMMs|CNMs|CNs|CNTs|CNVs|CPCs|CPUs|CQDs|CRLs|CRs|Cs|CSis|CSIs|CSOs|CSPs|CSSNCs|"
    "CTAs|CTLs|CVEs|CVOs|CVs|CVTs|Cys|DCCs|DCs|DCUs|DFCs|DFPs|DFs|DHBs|DHSs|DIYs|DJs|DjVus|"
    "DLLs|DMs|DMUs|Dnes|DNFs|DNSBLs|DPs|DRIs|Drnis|Ds|DSMs|DTCs|DTDs|DTs|DVCs|DVDs|DXers|"
    "Dzus|EAMs|Eas|EBWs|ECNs|ECVs|EDMs|Eds|Ees|EEZs|Efs|EHAs|EiCs|EITs|EJBs|Eks|ELTs|ELUs|"
    "EMDs|Enas|Enes|Ens|ENTJs|Eois|Eolss|Eors|Ephs|Epos|ERJs|ESCs|ETBs|ETFs|Ets|ETs|Etts|"
    "EUBs|EVs|EWOs|FAIPs|Fas|FAs|FBOs|FCBs|FDCPAs|FDICs|FEGs|Fes|FFs|FGs|Fles|FMs|FPDs|FPGAs|"
    "FPSs|Fs|FSSs|FTAs|GCSEs|GDPs|GHGs|Glis|Glos|GMOs|GMs|GNPs|GPCRs|GPMGs|GPRs|GPUs|GRBs|"
    "GRCs|Gs|GSIs|GTAs|GTs|GUIs|Gyps|HBGAs|HCEs|HCPs|HDDs|HGPs|HGVs|HMOs|HRs|Hs|HSPs|HSTs|"
    "HTAs|HTRs|HVCs|IACTs|IAUCs|Ibaes|IBCs|Ibs|ICBMs|ICs|ICTs|IDLHs|IDPs|IDs|IFIs|IFNs|IFRSs|"
    "IGFs|IIgs|IIGs|iMSNs|Infs|Ints|INTs|IODs|IOPs|IPCs|IPPs|iPSCs|IPs|Irmis|IRs|ISBNs|ISMNs|"
    "ISPs|Iss|ISSNs|ITHs|ITNNs|IUDs|IVs|Iwas|IWBs|IXBs|IXCs|JCRs|JHs|JHSVs|Js|KPIs|KRCs|LBPs|"
    "LCAs|LCCs|LCDs|LCIs|LCSs|LCTs|LCVPs|LDCs|LFFCs|LFs|LFSRs|LGMs|LGs|LGUs|LGVs|LMGs|LMPs|"
    "LMQs|LPARs|LPs|LRTs|LRVs|LSDs|Ls|LSTs|LSVCCs|MCCs|MCs|MDCs|MDGs|MDHUs|MFDs|MFTs|MHCs|"
    "MKs|MLAs|MLCs|MLPs|MNCs|MPAs|MPLMs|MPPs|MPs|MRBs|mRNAs|MRTs|MSPs|MTAs|MVMs|MVPs|MVs|"
    "NBAs|NCAAs|NCCs|NCOs|NGOs|NHCEs|NHCs|NHPs|NLRs|NPCs|NPMs|NPs|NRIs|NRJs|NSOs|OLs|OMGs|"
    "OPMs|ORFs|OSBs|OSTs|OTs|OWCs|PCBs|PCDDs|PDAs|PDCs|PDEs|PDFs|PDPs|PDs|PFs|PGMs|PHPs|PJs|"
    "PLCs|PMs|PNEs|PNETs|PNNs|PPVs|Ps|PSSAs|PTAs|PTEs|PTLs|PTTs|PVAs|PVs|QPOs|RBCs|RBIs|RCTs|"
    "REPLs|RHIBs|RMDs|RMLs|RMSDs|RMs|RNAs|RNNs|RNPs|ROVs|RPGs|RPs|rRNAs|Rsis|Rs|RTCs|RTOs|"
    "RWEs|SBCs|SCRs|Sejms|Ses|SEs|SGSNs|SLAs|SMEs|SMPSs|SNPs|Sos|SPCAs|SPs|SPUs|SRAs|SRBs|"
    "SRGs|SRLGs|SRMs|SSAs|SSDs|SSRIs|Ss|STDs|STGs|STIs|SUTs|SUVs|SVMs|SVTs|Sys|TBCs|TBMs|"
    "TCKs|TCUs|TDs|TGVs|Tlas|TLDs|TLRs|TLs|TMGs|TMSs|TNTAs|TPVs|TRPs|Ts|TVETs|TVs|TWTs|UAs|"
    "UAVs|uCs|UDTs|UFOs|UHTCs|Ulms|Ulus|Uns|UoMs|UPBs|URCs|URLs|USBs|UShs|Usos|USPs|Utes|UUs|"
    "VCDs|VCRs|VCSELs|VCs|VCTs|VDCs|VGSCs|VIPs|VJs|VLCCs|VMAs|VPNs|Vrtis|VSANs|VSATs|VSPs|"
    "VVIPs|VWs|WBs|WTs|WTTs|WUAs|XDRs|XTwas|YFCs|Ynis|Ys";

constexpr std::string_view kStates =
    "AL=Alabama|A.L=Alabama|A.L.=Alabama|AK=Alaska|A.K=Alaska|A.K.=Alaska|AZ=Arizona|"
    "A.Z=Arizona|A.Z.=Arizona|AR=Arkansas|A.R=Arkansas|A.R.=Arkansas|CA=California|"
    "C.A=California|C.A.=California|CO=Colorado|C.O=Colorado|C.O.=Colorado|CT=Connecticut|"
    "C.T=Connecticut|C.T.=Connecticut|DE=Delaware|D.E=Delaware|D.E.=Delaware|FL=Florida|"
    "F.L=Florida|F.L.=Florida|GA=Georgia|G.A=Georgia|G.A.=Georgia|HI=Hawaii|H.I=Hawaii|"
    "H.I.=Hawaii|ID=Idaho|I.D=Idaho|I.D.=Idaho|IL=Illinois|I.L=Illinois|I.L.=Illinois|"
    "IND=Indiana|I.ND=Indiana|I.ND.=Indiana|IA=Iowa|I.A=Iowa|I.A.=Iowa|KS=Kansas|K.S=Kansas|"
    "K.S.=Kansas|KY=Kentucky|K.Y=Kentucky|K.Y.=Kentucky|LA=Louisiana|L.A=Louisiana|"
    "L.A.=Louisiana|ME=Maine|M.E=Maine|M.E.=Maine|MD=Maryland|M.D=Maryland|M.D.=Maryland|"
    "MA=Massachusetts|M.A=Massachusetts|M.A.=Massachusetts|MI=Michigan|M.I=Michigan|"
    "M.I.=Michigan|MN=Minnesota|M.N=Minnesota|M.N.=Minnesota|MS=Mississippi|M.S=Mississippi|"
    "M.S.=Mississippi|MO=Missouri|M.O=Missouri|M.O.=Missouri|MT=Montana|M.T=Montana|"
    "M.T.=Montana|NE=Nebraska|N.E=Nebraska|N.E.=Nebraska|NV=Nevada|N.V=Nevada|N.V.=Nevada|"
    "NH=New Hampshire|N.H=New Hampshire|N.H.=New Hampshire|NJ=New Jersey|N.J=New Jersey|"
    "N.J.=New Jersey|NM=New Mexico|N.M=New Mexico|N.M.=New Mexico|NY=New York|N.Y=New York|"
    "N.Y.=New York|NC=North Carolina|N.C=North Carolina|N.C.=North Carolina|ND=North Dakota|"
    "N.D=North Dakota|N.D.=North Dakota|OR=Oregon|O.R=Oregon|O.R.=Oregon|PA=Pennsylvania|"
    "P.A=Pennsylvania|P.A.=Pennsylvania|RI=Rhode Island|R.I=Rhode Island|R.I.=Rhode Island|"
    "SC=South Carolina|S.C=South Carolina|S.C.=South Carolina|SD=South Dakota|"
    "S.D=South Dakota|S.D.=South Dakota|TN=Tennessee|T.N=Tennessee|T.N.=Tennessee|"
    "TENN=Tennessee|T.ENN=Tennessee|T.ENN.=Tennessee|TX=Texas|T.X=Texas|T.X.=Texas|UT=Utah|"
    "U.T=Utah|U.T.=Utah|VT=Vermont|V.T=Vermont|V.T.=Vermont|VA=Virginia|V.A=Virginia|"
    "V.A.=Virginia|WA=Washington|W.A=Washington|W.A.=Washington|WV=West Virginia|"
    "W.V=West Virginia|W.V.=West Virginia|WI=Wisconsin|W.I=Wisconsin|W.I.=Wisconsin|"
    "WY=Wyoming|W.Y=Wyoming|W.Y.=Wyoming";

// Pairs of letters that do not lose the points of "X.Y." and of "X. Y.": all others do.
constexpr std::string_view kPairsWithPoints =
    "AQ AX BQ BX BY CQ CT CU DY DZ EG EQ EY EZ FO FU FX GQ GX GY GZ HU HX HZ IE IF IH IJ IO  "
    "IU IW IX IZ JA JU JX KG KQ KW KX KY KZ LA LK LQ LU LX LZ MQ MU MX MZ NO NQ NX OD OQ OR  "
    "OX OY OZ PF PQ PU PX PY PZ QA QD QE QF QG QJ QK QL QM QN QO QP QQ QR QS QT QU QW QX QY  "
    "QZ RX RY RZ SQ SU SZ TY TZ UB UD UE UF UG UI UO UQ UR UU UW UX UY UZ VE VH VQ VS VU VW  "
    "VX VY VZ WI WQ WU WX WZ XA XB XC XD XE XG XH XI XJ XK XL XN XP XR XS XT XU XV XW XX XY  "
    "XZ YF YH YJ YL YM YQ YR YU YV YW YX YZ ZB ZC ZD ZE ZF ZI ZJ ZN ZO ZQ ZR ZS ZT ZU ZV";
constexpr std::string_view kPairsWithSpacedPoints =
    "AQ BU BX BZ CQ CT CX CZ DI DQ DU DX DZ EG EQ EX EZ FQ FU FX FY FZ GO GX GZ HQ HX IE IF  "
    "IG IK IO IP IQ IT IU IX IZ JP JQ JX KF KG KQ KW KX KY LQ LX LY LZ NO NU NX NZ OB OE OF  "
    "OQ OT OU OX OY OZ PF PQ PU PX QB QC QD QF QG QH QI QK QL QM QO QP QQ QR QS QT QU QV QW  "
    "QX QY QZ RX RY SX TI TQ TU TX TY TZ UA UB UC UG UH UI UJ UK UL UN UO UP UQ UR UT UU UV  "
    "UW UX UY UZ VE VO VQ VS VT VU VW VX VY WQ WX WY XA XB XE XF XG XI XJ XK XL XM XN XO XP  "
    "XQ XR XS XT XU XV XX XY XZ YE YF YO YP YR YS YU YX YY YZ ZB ZC ZD ZE ZF ZG ZK ZL ZM ZN  "
    "ZO ZP ZQ ZR ZS ZT ZU ZV ZW ZX";

constexpr Cost kCost = weight(1);
constexpr size_t kLongestUnit = 8;

CountedWord counted(const WordTable::Match& match) {
  const size_t slash = match.spoken.find('/');
  const std::string one(match.spoken.substr(0, slash));
  const std::string many =
      slash == std::string_view::npos ? one + "s" : std::string(match.spoken.substr(slash + 1));
  return {match.end, one, many};
}

bool is_capital(std::u32string_view text, size_t at) {
  return at < text.size() && text[at] >= U'A' && text[at] <= U'Z';
}

void add_table(const WordTable& table, std::u32string_view text, size_t at, Readings& out) {
  for (const WordTable::Match& match : table.at(text, at))
    out.push_back({match.end, kCost, std::string(match.spoken)});
}

void add_joined_by_and(std::u32string_view text, size_t at, Readings& out) {
  static const WordTable table(kJoinedByAnd);
  for (const WordTable::Match& match : table.at(text, at)) {
    std::string spoken(match.spoken);
    for (size_t i = spoken.find('&'); i != std::string::npos; i = spoken.find('&', i))
      spoken.replace(i, 1, " and ");
    out.push_back({match.end, kCost, spoken});
  }
}

void add_plurals(std::u32string_view text, size_t at, Readings& out) {
  static const WordTable table(kPlurals);
  for (const WordTable::Match& match : table.at(text, at)) {
    const std::string_view letters = match.spoken.substr(0, match.spoken.size() - 1);
    out.push_back({match.end, kCost, jinja::to_upper(letters) + "'s"});
  }
}

// A.B., A. B., and three or more: their points go.
void add_initials(std::u32string_view text, size_t at, Readings& out) {
  for (const std::u32string_view joint : {std::u32string_view(U"."), std::u32string_view(U". ")}) {
    std::string letters;
    size_t end = at;
    while (letters.size() < kLongestRun && is_capital(text, end)) {
      letters += static_cast<char>(text[end++]);
      if (letters.size() >= 3) {
        out.push_back({end, kCost, letters});
        if (is_at(text, end, U'.')) out.push_back({end + 1, kCost, letters});
      }
      const std::string_view kept = joint.size() == 1 ? kPairsWithPoints : kPairsWithSpacedPoints;
      if (letters.size() == 2 && is_at(text, end, U'.') &&
          (" " + std::string(kept) + " ").find(" " + letters + " ") == std::string::npos)
        out.push_back({end + 1, kCost, letters});
      if (!starts_with(text, end, joint)) break;
      end += joint.size();
    }
  }
}

// "Austin, TX": only behind a word and a comma.
void add_states(std::u32string_view text, size_t at, Readings& out) {
  static const WordTable table(kStates);
  size_t end = at;
  while (end < at + kLongestRun && end < text.size() && is_ascii_letter(text[end])) ++end;
  if (end == at || !is_at(text, end, U',')) return;
  std::string before;
  for (size_t i = at; i < end; ++i) before += static_cast<char>(text[i]);
  before += ',';
  const auto add = [&](size_t from, const std::string& city) {
    for (const WordTable::Match& match : table.at(text, from))
      out.push_back({match.end, kCost, city + std::string(match.spoken)});
  };
  add(end + 1, before);
  if (is_at(text, end + 1, U' ')) add(end + 2, before + " ");
}

}  // namespace

std::vector<CountedWord> english_units(std::u32string_view text, size_t at) {
  static const WordTable table(kUnits);
  std::vector<CountedWord> out;
  for (const WordTable::Match& match : table.at(text, at)) out.push_back(counted(match));
  if (!is_capital(text, at)) return out;
  std::u32string lower;
  for (size_t i = at; i < text.size() && lower.size() < kLongestUnit; ++i) {
    if (!is_ascii_letter(text[i])) break;
    lower += text[i] | 0x20;
  }
  for (const WordTable::Match& match : table.at(lower, 0)) {
    if (match.end < 2) continue;
    out.push_back(counted(match));
    out.back().end += at;
  }
  return out;
}

std::vector<CountedWord> english_currencies(std::u32string_view text, size_t at) {
  static const WordTable table(kCurrencies);
  std::vector<CountedWord> out;
  for (const WordTable::Match& match : table.at(text, at)) out.push_back(counted(match));
  return out;
}

void add_english_abbreviations(std::u32string_view text, size_t at, Readings& out) {
  static const WordTable abbreviations(kAbbreviations), signs(kSigns);
  add_table(abbreviations, text, at, out);
  add_table(signs, text, at, out);
  if (is_at(text, at, U'|')) out.push_back({at + 1, kCost, "vertical bar"});
  add_joined_by_and(text, at, out);
  add_plurals(text, at, out);
  add_initials(text, at, out);
  add_states(text, at, out);
}

}  // namespace quern::spoken
